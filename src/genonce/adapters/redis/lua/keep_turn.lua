-- Heartbeat of a turn at a provider; a turn that was lost meanwhile is not taken back.
--
-- KEYS  1 turns
-- ARGV  1 token  2 ms that a turn counts without a heartbeat
-- Returns 1, or 0 if the turn was lost.

if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], whole(math.floor(now_us() / 1000) + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1

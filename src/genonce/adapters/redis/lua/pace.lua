-- Ask for a turn at a provider: it is not resting, not too many calls are out, its pace allows it.
--
-- KEYS  1 rest mark  2 log of calls  3 turns
-- ARGV  1 limits ("" for none)  2 calls at once  3 token of the turn  4 ms that a turn counts
--       without a heartbeat
-- Returns 0 if the turn is taken, else ms to wait at most before asking again.

local resting = redis.call('PTTL', KEYS[1])
if resting > 0 then return resting end
local now = now_us()
local now_ms = math.floor(now / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', whole(now_ms))
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[2]) then
  local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  return math.max(1, first[2] - now_ms)
end
local verdict, allowance = take(KEYS[2], ARGV[1], 1, now)
if verdict == 'no' then return math.ceil(allowance[4] / 1000) end
redis.call('ZADD', KEYS[3], whole(now_ms + ARGV[4]), ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return 0

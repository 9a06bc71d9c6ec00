-- Empty a filled slot whose bytes are gone, so that the next claim makes it again.
--
-- KEYS  1 series
-- ARGV  1 index  2 beginning of the SHA-256 of the lost bytes
-- Returns 1 if the slot held them.

local record = redis.call('HGET', KEYS[1], ARGV[1])
if not is_filled(record) or string.sub(record, 3, 2 + #ARGV[2]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])

-- Empty a filled slot whose bytes are gone, so that the next claim makes it again.
--
-- KEYS  1 series
-- ARGV  1 index  2 beginning of the SHA-256 of the lost bytes  3 their format
-- Returns 1 if the slot held them.

local sha256, format = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^f|(%x+)|(%a+)|')
if format ~= ARGV[3] or string.sub(sha256, 1, #ARGV[2]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])

-- Agree on one image store for all processes of a deployment.
--
-- KEYS  1 store id
-- ARGV  1 id of the store that this process sees  2 seconds that the agreement lives
-- Returns the id that was agreed on.

local agreed = redis.call('GET', KEYS[1])
if agreed and agreed ~= ARGV[1] then return agreed end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]

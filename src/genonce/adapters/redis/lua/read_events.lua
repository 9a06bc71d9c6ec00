-- The present attempt's events after a number, oldest first, and what renders them.
--
-- KEYS  1 task  2 events  3 queue  4 durations
-- ARGV  1 task id  2 number of the last event seen  3 prefix of series keys
-- Returns {} | {series id, snapshot, number of the first entry, entry ...}
--   A number from before this attempt, or of a forgotten record, gives the whole log.

local record = redis.call('HMGET', KEYS[1], 'series', 'event')
if not record[1] then return {} end
local last, length = tonumber(record[2]), redis.call('LLEN', KEYS[2])
local before, after = last - length, tonumber(ARGV[2])
if after < before or after > last then after = before end
local answer = {record[1],
  snapshot(KEYS[1], ARGV[3] .. record[1], KEYS[3], KEYS[4], ARGV[1]), after + 1}
for _, entry in ipairs(redis.call('LRANGE', KEYS[2], after - before, -1)) do
  answer[#answer + 1] = entry
end
return answer

-- Heartbeat of a job: lengthen its leases, report its progress.
--
-- KEYS  1 task  2 series  3 events
-- ARGV  1 attempt  2 lease in ms  3 progress in thousandths  4 task channel
--       5 ... index, fence of each lease
-- Returns 1 while the attempt goes on, 0 when it is over.

local until_ms = math.floor(now_us() / 1000) + ARGV[2]
for position = 5, #ARGV, 2 do
  local slot = held_by(KEYS[2], ARGV[position], ARGV[position + 1])
  if slot and slot.until_ms > 0 then -- one that was given back is not taken again
    slot.until_ms = until_ms
    write_open(KEYS[2], ARGV[position], slot)
  end
end
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'progress', 'n')
if record[1] ~= 'running' or record[2] ~= ARGV[1] then return 0 end
local progress = math.min(999, tonumber(ARGV[3]))
if progress > tonumber(record[3]) then
  redis.call('HSET', KEYS[1], 'progress', progress)
  local _, filled = filled_of(KEYS[2], tonumber(record[4]))
  emit(KEYS[1], KEYS[3], ARGV[4], 'running', progress, filled)
end
return 1

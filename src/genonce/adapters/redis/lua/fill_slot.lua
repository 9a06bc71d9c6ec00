-- Fill a slot: only the holder of its lease can.
--
-- KEYS  1 task  2 series  3 events
-- ARGV  1 attempt  2 index  3 fence  4 filled record  5 task channel  6 series channel
-- Returns 1, or 0 if the lease was lost.

local slot = held_by(KEYS[2], ARGV[2], ARGV[3])
if not slot then return redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[4] and 1 or 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
redis.call('PUBLISH', ARGV[6], 'filled')
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'n', 'progress')
if record[1] == 'running' and record[2] == ARGV[1] then
  local n = tonumber(record[3])
  local done, filled = filled_of(KEYS[2], n)
  if done < n then -- the last one is told by finish.lua
    local progress = math.max(tonumber(record[4]), math.floor(done * 1000 / n))
    redis.call('HSET', KEYS[1], 'progress', progress)
    emit(KEYS[1], KEYS[3], ARGV[5], 'running', progress, filled)
  end
end
return 1

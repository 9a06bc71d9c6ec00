-- End an attempt: give back its leases, and the allowance that bought nothing.
--
-- KEYS  1 task  2 series  3 events  4 durations
-- ARGV  1 attempt  2 state  3 code  4 message  5 ms that a finished record lives
--       6 task channel  7 series channel  8 ... index, fence of each lease
-- Returns the slots bought in this attempt, or -1 if it is over already or slots are missing for
--   "succeeded".

release(KEYS[2], ARGV[7], ARGV, 8)
local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'n', 'progress', 'charge', 'started',
  'model', 'bought')
if not record[1] or record[2] ~= ARGV[1] then return -1 end
local n, bought = tonumber(record[3]), tonumber(record[8] or 0)
local done, filled = filled_of(KEYS[2], n)
if ARGV[2] == 'succeeded' and done < n and not TERMINAL[record[1]] then return -1 end
if record[5] then
  refund(record[5], bought)
  redis.call('HDEL', KEYS[1], 'charge')
end
if TERMINAL[record[1]] then return -1 end

local progress = ARGV[2] == 'succeeded' and 1000 or record[4]
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'progress', progress)
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'code', ARGV[3], 'message', ARGV[4]) end
emit(KEYS[1], KEYS[3], ARGV[6], ARGV[2], progress, filled)
for key = 1, 3 do redis.call('PEXPIRE', KEYS[key], ARGV[5]) end

if ARGV[2] == 'succeeded' and bought > 0 and record[6] then
  local seconds = (now_us() / 1000 - record[6]) / 1000
  local average = redis.call('HGET', KEYS[4], record[7])
  if average then seconds = average * 0.8 + seconds * 0.2 end
  redis.call('HSET', KEYS[4], record[7], string.format('%.3f', seconds))
end
return bought

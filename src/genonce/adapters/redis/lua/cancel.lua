-- End an unfinished task. Calls in flight are not stopped: their pictures fill their slots.
--
-- KEYS  1 task  2 events  3 queue  4 prefix of arq's job bodies of this task  5 durations
-- ARGV  1 task id  2 task channel  3 ms that a finished record lives  4 prefix of series keys
-- Returns {} if there is no such task, else {"1" if it was unfinished, series id, snapshot}.

local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'n', 'progress', 'charge', 'series')
if not record[1] then return {} end
local series = ARGV[4] .. record[6]
local was_active = not TERMINAL[record[1]]
if was_active then
  if record[1] == 'queued' then -- never started: nothing to wait for, nothing was bought
    redis.call('ZREM', KEYS[3], ARGV[1] .. ':' .. record[2])
    redis.call('DEL', KEYS[4] .. record[2])
    refund(record[5], 0)
    redis.call('HDEL', KEYS[1], 'charge')
  end
  local _, filled = filled_of(series, tonumber(record[3]))
  redis.call('HSET', KEYS[1], 'state', 'cancelled')
  emit(KEYS[1], KEYS[2], ARGV[2], 'cancelled', record[4], filled)
  for _, key in ipairs({KEYS[1], KEYS[2]}) do redis.call('PEXPIRE', key, ARGV[3]) end
end
return {was_active and '1' or '0', record[6],
  snapshot(KEYS[1], series, KEYS[3], KEYS[5], ARGV[1])}

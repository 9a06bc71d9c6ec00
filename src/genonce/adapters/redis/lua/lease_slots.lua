-- Start a job or go on with it: mark the task running and lease its empty slots.
--
-- KEYS  1 task  2 events
-- ARGV  1 attempt  2 lease in ms  3 task channel  4 prefix of series keys
-- Returns {} if the attempt is over, else {series id, canonical request, n, ms since the first
--   start, slot ...}; a slot is its filled record, "h|ms left" of somebody else's lease, or
--   "l|fence|sent|purchases|failures|unknowns" of ours.
-- The fence is the clock or the next number, so it grows even over a lost database.

local record = redis.call('HMGET', KEYS[1], 'state', 'attempt', 'n', 'series', 'started', 'progress')
local state, n = record[1], tonumber(record[3])
if not state or TERMINAL[state] or record[2] ~= ARGV[1] then return {} end
local series = ARGV[4] .. record[4]
local request = redis.call('HGET', series, 'request')
if not request then return {} end

local now = now_us()
local now_ms = math.floor(now / 1000)
local started = tonumber(record[5] or now_ms)
local answer = {record[4], request, n, now_ms - started}
for position, slot in ipairs(redis.call('HMGET', series, unpack(slot_names(n)))) do
  local open = parse_open(slot) or
    {fence = 0, until_ms = 0, sent = 0, purchases = 0, failures = 0, unknowns = 0}
  if is_filled(slot) then
    answer[#answer + 1] = slot
  elseif open.until_ms > now_ms then
    answer[#answer + 1] = 'h|' .. whole(open.until_ms - now_ms)
  else
    open.fence = math.max(open.fence + 1, now)
    open.until_ms = now_ms + ARGV[2]
    write_open(series, position - 1, open)
    answer[#answer + 1] = table.concat({'l', whole(open.fence), open.sent, open.purchases,
      open.failures, open.unknowns}, '|')
  end
end

local done, filled = filled_of(series, n)
local progress = math.max(tonumber(record[6] or 0), math.min(999, math.floor(done * 1000 / n)))
if state == 'queued' then
  redis.call('HSET', KEYS[1], 'state', 'running', 'started', whole(started), 'progress', progress)
  emit(KEYS[1], KEYS[2], ARGV[3], 'running', progress, filled)
elseif progress > tonumber(record[6] or 0) then
  redis.call('HSET', KEYS[1], 'progress', progress)
  emit(KEYS[1], KEYS[2], ARGV[3], 'running', progress, filled)
end
return answer

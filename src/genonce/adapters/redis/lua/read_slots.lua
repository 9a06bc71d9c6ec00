-- What a claim would find, changing nothing.
--
-- KEYS  1 task  2 series  3 queue  4 durations
-- ARGV  1 task id  2 n
-- Returns {snapshot or {}, slot ...}; a slot is its filled record, "h|ms left" or "".

local now_ms = math.floor(now_us() / 1000)
local answer = {{}}
if redis.call('HEXISTS', KEYS[1], 'state') == 1 then
  answer[1] = snapshot(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1])
end
for _, record in ipairs(redis.call('HMGET', KEYS[2], unpack(slot_names(tonumber(ARGV[2]))))) do
  local slot = parse_open(record)
  if is_filled(record) then answer[#answer + 1] = record
  elseif slot and slot.until_ms > now_ms then answer[#answer + 1] = 'h|' .. whole(slot.until_ms - now_ms)
  else answer[#answer + 1] = '' end
end
return answer

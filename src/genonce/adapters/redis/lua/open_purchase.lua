-- Write the intent to buy some slots, before the provider is called.
--
-- KEYS  1 task  2 series
-- ARGV  1 attempt  2 lease in ms  3 ... index, fence of each lease
-- Returns 1, or 0 (and changes nothing) if the attempt is over or a lease is lost.

local record = redis.call('HMGET', KEYS[1], 'state', 'attempt')
if record[1] ~= 'running' or record[2] ~= ARGV[1] then return 0 end
local slots = {}
for position = 3, #ARGV, 2 do
  local slot = held_by(KEYS[2], ARGV[position], ARGV[position + 1])
  if not slot then return 0 end
  slots[ARGV[position]] = slot
end
local until_ms = math.floor(now_us() / 1000) + ARGV[2]
for index, slot in pairs(slots) do
  slot.sent, slot.purchases, slot.until_ms = 1, slot.purchases + 1, until_ms
  write_open(KEYS[2], index, slot)
  redis.call('HINCRBY', KEYS[1], 'bought', 1)
end
return 1

-- Record how a purchase without a picture ended.
--
-- KEYS  1 task  2 series
-- ARGV  1 attempt  2 outcome: "refused" (nothing was bought), "failed" or "unknown"
--       3 ... index, fence of each lease
-- Returns one entry a lease: "l|fence|sent|purchases|failures|unknowns", or "" if it is lost.

local is_ours = redis.call('HGET', KEYS[1], 'attempt') == ARGV[1]
local answer = {}
for position = 3, #ARGV, 2 do
  local slot = held_by(KEYS[2], ARGV[position], ARGV[position + 1])
  if slot then
    slot.sent = 0
    if ARGV[2] == 'refused' then
      slot.purchases = math.max(0, slot.purchases - 1)
      if is_ours and tonumber(redis.call('HGET', KEYS[1], 'bought') or 0) > 0 then
        redis.call('HINCRBY', KEYS[1], 'bought', -1)
      end
    elseif ARGV[2] == 'failed' then slot.failures = slot.failures + 1
    else slot.unknowns = slot.unknowns + 1 end
    write_open(KEYS[2], ARGV[position], slot)
    answer[#answer + 1] = table.concat({'l', whole(slot.fence), slot.sent, slot.purchases,
      slot.failures, slot.unknowns}, '|')
  else
    answer[#answer + 1] = ''
  end
end
return answer

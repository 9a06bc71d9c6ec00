-- Record how a purchase without a picture ended.
--
-- KEYS  1 series
-- ARGV  1 outcome: "refused" (nothing was bought), "failed" or "unknown"
--       2 ... index, fence of each lease
-- Returns one entry a lease: "l|fence|sent|purchases|failures|unknowns", or "" if it is lost.

local answer = {}
for position = 2, #ARGV, 2 do
  local slot = held_by(KEYS[1], ARGV[position], ARGV[position + 1])
  if slot then
    slot.sent = 0
    if ARGV[1] == 'refused' then slot.purchases = math.max(0, slot.purchases - 1)
    elseif ARGV[1] == 'failed' then slot.failures = slot.failures + 1
    else slot.unknowns = slot.unknowns + 1 end
    write_open(KEYS[1], ARGV[position], slot)
    answer[#answer + 1] = table.concat({'l', whole(slot.fence), slot.sent, slot.purchases,
      slot.failures, slot.unknowns}, '|')
  else
    answer[#answer + 1] = ''
  end
end
return answer

-- Take units from a meter, or look at it.
--
-- KEYS  1 log
-- ARGV  1 limits  2 cost; 0 only looks
-- Returns {'ok', {amount, window_us, left, reset_us} or {}} | {'no', {amount, window_us, cost,
--   retry_us}}

local now = now_us()
if ARGV[2] == '0' then
  local best = tightest(KEYS[1], ARGV[1], now)
  return {'ok', best and {best[1], best[2], best[3], whole(best[4])} or {}}
end
local verdict, allowance = take(KEYS[1], ARGV[1], tonumber(ARGV[2]), now)
return {verdict, allowance}

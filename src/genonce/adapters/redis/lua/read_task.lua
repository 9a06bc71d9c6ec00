-- A task as it stands, paid for by the reader's meter, in one round trip.
--
-- KEYS  1 task  2 events  3 log of the meter  4 queue  5 durations
-- ARGV  1 task id  2 limits ("" for none)  3 owner ("" for any)  4 ms that a record lives
--       5 prefix of series keys
-- Returns {'refused', {amount, window_us, cost, retry_us}} | {'none', allowance}
--       | {'task', allowance, series id, snapshot}

local verdict, allowance = take(KEYS[3], ARGV[2], 1, now_us())
if verdict == 'no' then return {'refused', allowance} end
local record = read_record(KEYS[1])
if not record[1] or (ARGV[3] ~= '' and record[10] ~= ARGV[3]) then return {'none', allowance} end
local series = ARGV[5] .. record[9]
touch({KEYS[1], KEYS[2], series}, tonumber(ARGV[4]))
return {'task', allowance, record[9],
  snapshot(KEYS[1], series, KEYS[4], KEYS[5], ARGV[1], record)}

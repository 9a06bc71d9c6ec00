-- Find a task or make it; charge the limit and queue the job: all or nothing, one round trip.
--
-- KEYS  1 task  2 series  3 events  4 idempotency record ("" for none)  5 log of meter generate
--       6 log of meter read  7 queue  8 prefix of arq's job bodies of this task  9 durations
-- ARGV  1 task id  2 series id  3 n  4 digest  5 canonical request  6 arq job body
--       7 limits of generate  8 limits of read  9 "1": cost an image, not a task
--       10 "1": the image store has every slot, charge nothing  11 ms that a finished record lives
--       12 ms that an unfinished one lives  13 ms that an idempotency record lives  14 model
--       15 owner  16 wake channel  17 task channel
-- Returns {'conflict'} | {'collision'} | {'refused', meter, {amount, window_us, cost, retry_us}}
--       | {'hit' | 'join' | 'new' | 'replay', meter, {amount, window_us, left, reset_us} or {},
--          slots to buy, snapshot}

local now = now_us()
local now_ms = math.floor(now / 1000)
local n = tonumber(ARGV[3])

local record = redis.call('HMGET', KEYS[1], 'digest', 'state', 'attempt')
local digest, state, attempt = record[1], record[2], tonumber(record[3] or '0')
if digest and digest ~= ARGV[4] then return {'collision'} end

local replay = false
if KEYS[4] ~= '' then
  local used_for = redis.call('GET', KEYS[4])
  if used_for and used_for ~= ARGV[4] then return {'conflict'} end
  replay = used_for and state
end

local missing, filled, open = 0, {}, {}
for position, slot in ipairs(redis.call('HMGET', KEYS[2], unpack(slot_names(n)))) do
  if is_filled(slot) then
    filled[#filled + 1] = position - 1
  else
    local parsed = parse_open(slot)
    if not parsed or parsed.until_ms <= now_ms then
      missing = missing + 1
      if parsed then open[position - 1] = parsed end
    end
  end
end

local active = state == 'queued' or state == 'running'
local outcome
if replay then outcome = 'replay'
elseif #filled == n then outcome = 'hit'
elseif active or missing == 0 then outcome = 'join'
else outcome = 'new' end

local meter, log, limits, cost = 'read', KEYS[6], ARGV[8], 1
if outcome == 'new' then
  meter, log, limits = 'generate', KEYS[5], ARGV[7]
  if ARGV[10] == '1' then cost = 0 elseif ARGV[9] == '1' then cost = missing end
end
local verdict, allowance, stamp = take(log, limits, cost, now)
if verdict == 'no' then return {'refused', meter, allowance} end

if outcome ~= 'replay' then
  redis.call('HSETNX', KEYS[2], 'request', ARGV[5])
  if KEYS[4] ~= '' then redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[13]) end
end

if not state then
  -- Numbers of events start from the clock, so that they grow over a lost or forgotten record.
  redis.call('HSET', KEYS[1], 'event', whole(now_ms))
end

local job = ARGV[1] .. ':' .. attempt
if outcome == 'hit' and state ~= 'succeeded' and not active then
  -- Other tasks of the series filled every slot.
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[1], 'series', ARGV[2], 'n', n, 'digest', ARGV[4], 'model', ARGV[14],
    'state', 'succeeded', 'attempt', attempt + 1, 'progress', 1000)
  redis.call('HDEL', KEYS[1], 'code', 'message', 'charge', 'bought')
  emit(KEYS[1], KEYS[3], ARGV[17], 'succeeded', 1000, table.concat(filled, ','))
elseif outcome == 'new' or (outcome == 'join' and not active) then
  attempt = attempt + 1
  job = ARGV[1] .. ':' .. attempt
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[1], 'series', ARGV[2], 'n', n, 'digest', ARGV[4], 'model', ARGV[14],
    'state', 'queued', 'attempt', attempt, 'progress', 0)
  redis.call('HDEL', KEYS[1], 'code', 'message', 'charge', 'bought', 'started')
  if stamp ~= '' and outcome == 'new' then
    redis.call('HSET', KEYS[1], 'charge', log .. '|' .. stamp .. '|' .. cost)
  end
  for index, slot in pairs(open) do -- what failed before does not count against this attempt
    slot.failures, slot.unknowns = 0, 0
    write_open(KEYS[2], index, slot)
  end
elseif outcome == 'join' and redis.call('ZSCORE', KEYS[7], job) then
  job = nil
end
if ARGV[15] ~= '' then redis.call('HSET', KEYS[1], 'owner', ARGV[15]) end

if job and (outcome == 'new' or outcome == 'join') then
  redis.call('SET', KEYS[8] .. attempt, ARGV[6], 'PX', ARGV[12])
  redis.call('ZADD', KEYS[7], whole(now_ms), job)
  if not active then
    local place = redis.call('ZRANK', KEYS[7], job) + 1
    emit(KEYS[1], KEYS[3], ARGV[17], 'queued', 0, table.concat(filled, ','), place)
  end
  redis.call('PUBLISH', ARGV[16], 'queued')
end

local life = tonumber(outcome == 'hit' and not active and ARGV[11] or ARGV[12])
if outcome == 'new' or outcome == 'join' then
  for key = 1, 3 do redis.call('PEXPIRE', KEYS[key], life) end
else
  touch({KEYS[1], KEYS[2], KEYS[3]}, life)
end
return {outcome, meter, allowance, missing, snapshot(KEYS[1], KEYS[2], KEYS[7], KEYS[9], ARGV[1])}

-- Put in front of every script: clock, meters, slot records, events, snapshots.
--
-- A slot is one field of its series' hash:
--   open    o|fence|until_ms|sent|purchases|failures|unknowns    leased while until_ms is ahead
--   filled  f|sha256|format|width|height|seed
-- Times are Redis' own. Keys built from a record (series of a task, meter of a charge) are not in
-- KEYS: the queue is on one server, as arq's is.

local STATES = {queued = 'q', running = 'r', succeeded = 's', failed = 'f', cancelled = 'c'}
local TERMINAL = {succeeded = true, failed = true, cancelled = true}

local function whole(number)
  return string.format('%.0f', number)
end

local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Count of a meter's units younger than a window; the log is sorted, so by halves.
local function used_since(log, length, since)
  local low, high = 0, length
  while low < high do
    local middle = math.floor((low + high) / 2)
    if tonumber(redis.call('LINDEX', log, middle)) > since then high = middle else low = middle + 1 end
  end
  return length - low, low
end

-- The limit of a meter with the fewest units left: {amount, window_us, left, reset_us}.
-- `trimmed`: the window that nothing in the log is older than, if one is known.
local function tightest(log, windows, now, trimmed)
  local length, best = redis.call('LLEN', log), nil
  for amount, window in string.gmatch(windows, '(%d+),(%d+)') do
    local used, first = length, 0
    if tonumber(window) ~= trimmed then used, first = used_since(log, length, now - window) end
    local left, reset = amount - used, 0
    if used > 0 then reset = redis.call('LINDEX', log, first) + window - now end
    if not best or left < best[3] then best = {amount, window, left, reset} end
  end
  return best
end

-- Take `cost` units from a moving window kept as a log of times (exact in any window).
-- Returns 'ok', {amount, window, left, reset} or 'no', {amount, window, cost, retry_us};
-- retry -1: more than the limit itself.  '' as windows: unmetered, 'ok', {}.
local function take(log, windows, cost, now)
  if windows == '' or cost == 0 then return 'ok', {}, '' end
  local last = redis.call('LINDEX', log, -1)
  if last and tonumber(last) > now then now = tonumber(last) end -- the clock was set back
  local longest, refusal = 0, nil
  for amount, window in string.gmatch(windows, '(%d+),(%d+)') do
    amount, window = tonumber(amount), tonumber(window)
    if window > longest then longest = window end
    if cost > amount then return 'no', {amount, whole(window), cost, -1} end
    local blocking = redis.call('LINDEX', log, cost - amount - 1)
    local retry = blocking and blocking + window - now or 0
    if retry > 0 and (not refusal or retry > refusal[4]) then
      refusal = {amount, whole(window), cost, retry}
    end
  end
  if refusal then
    refusal[4] = whole(refusal[4])
    return 'no', refusal
  end
  local head = redis.call('LINDEX', log, 0)
  while head and tonumber(head) <= now - longest do
    redis.call('LPOP', log)
    head = redis.call('LINDEX', log, 0)
  end
  local stamp = whole(now)
  for _ = 1, cost do redis.call('RPUSH', log, stamp) end
  redis.call('PEXPIRE', log, math.ceil(longest / 1000))
  local best = tightest(log, windows, now, longest)
  return 'ok', {best[1], best[2], best[3], whole(best[4])}, stamp
end

-- Give back what a charge ("log|stamp|cost") took beyond `kept` units.
local function refund(charge, kept)
  local log, stamp, cost = string.match(charge or '', '^(.*)|(%d+)|(%d+)$')
  if not log then return end
  for _ = kept + 1, tonumber(cost) do redis.call('LREM', log, -1, stamp) end
end

local function parse_open(record)
  local fence, until_ms, sent, purchases, failures, unknowns =
    string.match(record or '', '^o|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)$')
  if not fence then return nil end
  return {fence = tonumber(fence), until_ms = tonumber(until_ms), sent = tonumber(sent),
          purchases = tonumber(purchases), failures = tonumber(failures),
          unknowns = tonumber(unknowns)}
end

local function write_open(series, index, slot)
  redis.call('HSET', series, index, table.concat({'o', whole(slot.fence), whole(slot.until_ms),
    slot.sent, slot.purchases, slot.failures, slot.unknowns}, '|'))
end

local function is_filled(record)
  return record and string.sub(record, 1, 2) == 'f|'
end

local function slot_names(n)
  local names = {}
  for index = 0, n - 1 do names[index + 1] = tostring(index) end
  return names
end

-- The open slot of a lease that still holds, else nil.
local function held_by(series, index, fence)
  local slot = parse_open(redis.call('HGET', series, index))
  if slot and slot.fence == tonumber(fence) then return slot end
  return nil
end

-- Give back the leases listed in `list` from position `from`: index, fence, index, fence ...
local function release(series, channel, list, from)
  local any = false
  for position = from, #list, 2 do
    local slot = held_by(series, list[position], list[position + 1])
    if slot and slot.until_ms > 0 then
      slot.until_ms = 0
      write_open(series, list[position], slot)
      any = true
    end
  end
  if any then redis.call('PUBLISH', channel, 'released') end
end

-- Which of the first n slots are filled: count, and "0,2" for the log.
local function filled_of(series, n)
  local done, list = 0, {}
  for position, record in ipairs(redis.call('HMGET', series, unpack(slot_names(n)))) do
    if is_filled(record) then
      done = done + 1
      list[done] = position - 1
    end
  end
  return done, table.concat(list, ',')
end

-- Append an event: state, progress in thousandths, filled slots, place in the queue, slots bought.
local function emit(task, events, channel, state, progress, filled, position)
  redis.call('RPUSH', events,
    table.concat({STATES[state], progress, filled, position or '',
      redis.call('HGET', task, 'bought') or 0}, '|'))
  local number = redis.call('HINCRBY', task, 'event', 1)
  redis.call('PUBLISH', channel, number)
end

-- Lengthen the life of keys that are used together to `ttl_ms`; seldom, to keep reads from
-- writing. The first one tells for all.
local function touch(keys, ttl_ms)
  if redis.call('PTTL', keys[1]) >= ttl_ms * 0.9 then return end
  for _, key in ipairs(keys) do
    if redis.call('PTTL', key) < ttl_ms then redis.call('PEXPIRE', key, ttl_ms) end
  end
end

local function read_record(task)
  return redis.call('HMGET', task, 'state', 'attempt', 'n', 'event', 'progress', 'code', 'message',
    'model', 'series', 'owner', 'bought')
end

-- A task as it stands; `known` is its record where it was read already:
-- {state, attempt, n, event, progress, code, message, position, duration, bought, slot 0 ...}
local function snapshot(task, series, queue, durations, task_id, known)
  local record = known or read_record(task)
  local answer = {record[1], record[2], record[3], record[4], record[5], record[6] or '',
                  record[7] or '', '', '', record[11] or '0'}
  if not TERMINAL[record[1]] then
    if record[1] == 'queued' then
      local rank = redis.call('ZRANK', queue, task_id .. ':' .. record[2])
      if rank then answer[8] = rank + 1 end
    end
    answer[9] = redis.call('HGET', durations, record[8] or '') or ''
  end
  for _, slot in ipairs(redis.call('HMGET', series, unpack(slot_names(tonumber(record[3]))))) do
    answer[#answer + 1] = is_filled(slot) and slot or ''
  end
  return answer
end

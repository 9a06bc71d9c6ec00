-- Take queued jobs that nobody works on: arq's in-progress mark is set here, atomically.
--
-- KEYS  1 queue
-- ARGV  1 jobs wanted  2 ms that a mark lives without a heartbeat  3 prefix of marks
-- Returns {jobs in the queue, id, score, id, score ...}

local answer = {redis.call('ZCARD', KEYS[1])}
if answer[1] == 0 then return answer end
local wanted, offset, now_ms = tonumber(ARGV[1]), 0, math.floor(now_us() / 1000)
while wanted > 0 do
  local page = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now_ms), 'WITHSCORES',
    'LIMIT', offset, 100)
  if #page == 0 then break end
  for position = 1, #page, 2 do
    if wanted > 0 and redis.call('SET', ARGV[3] .. page[position], '1', 'PX', ARGV[2], 'NX') then
      answer[#answer + 1] = page[position]
      answer[#answer + 1] = page[position + 1]
      wanted = wanted - 1
    end
  end
  offset = offset + 100
end
return answer

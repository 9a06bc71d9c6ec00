-- Remove a finished task's record and events; the slots of its series stay.
--
-- KEYS  1 task  2 events
-- Returns the series id, or "" if there is no such task or it is unfinished.

local record = redis.call('HMGET', KEYS[1], 'state', 'series')
if not record[1] or not TERMINAL[record[1]] then return '' end
redis.call('DEL', KEYS[1], KEYS[2])
return record[2]

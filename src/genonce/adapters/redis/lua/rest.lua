-- Let every worker leave a provider alone; a longer rest stands.
--
-- KEYS  1 rest mark
-- ARGV  1 ms

if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
end
return 1

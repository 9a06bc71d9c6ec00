-- Give leases back without a result, and let another worker look at once.
--
-- KEYS  1 series
-- ARGV  1 series channel  2 wake channel  3 ... index, fence of each lease

release(KEYS[1], ARGV[1], ARGV, 3)
redis.call('PUBLISH', ARGV[2], 'released')
return 1

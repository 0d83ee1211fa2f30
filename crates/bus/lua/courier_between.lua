-- The deliveries to an addressee that were sent in some time, the oldest first.
-- ARGV 1 prefix 2 addressee 3 ms since the Unix epoch from which on 4 up to which
-- -> their ids
return redis.call('ZRANGEBYSCORE', key('of:', ARGV[2]), ARGV[3], ARGV[4])

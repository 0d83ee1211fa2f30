-- Notes something of a thing for an addressee; also while memory is full, or what was told would be told again.
-- ARGV 1 prefix 2 addressee 3 thing 4 text 5 s for which it is kept
redis.call('SET', key('note:', ARGV[2] .. '/' .. ARGV[3]), ARGV[4], 'EX', ARGV[5])
return {'ok'}

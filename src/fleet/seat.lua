-- One of the places that group sessions of all boxes have, or the word that all are taken.
-- KEYS: places by until when they are held. ARGV: session, until when it would hold one ms, places there are, 1 to take one from whoever
-- was quiet longest, a session that has just given its own up (may be empty).
-- Replies: 1 or 0, in how many ms the next one is free, whose was taken (may be empty).
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if ARGV[5] ~= '' then redis.call('ZREM', KEYS[1], ARGV[5]) end
local taken = ''
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  if ARGV[4] ~= '1' or not first[1] then return {0, first[2] and tonumber(first[2]) - now or 0, ''} end
  taken = first[1]
  redis.call('ZREM', KEYS[1], taken)
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('PEXPIREAT', KEYS[1], tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]))
return {1, 0, taken}

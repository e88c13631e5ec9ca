-- Writes live sessions of partitions that this box holds, or takes them out, and keeps their places.
-- KEYS: leases, places of group sessions by until when they are held, then the sessions of each partition.
-- ARGV: box, sessions a partition has at most, then seven for each session: partition, places there are, fence, until when it holds
-- one (0 none), how long a session lives ms, name, text (empty: it is over).
-- Replies one for each: 0 not this box's any more, 1 done, 2 no room for it, 3 done, but its place is another's.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local box, most = ARGV[1], tonumber(ARGV[2])
local reply = {}
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
for i = 3, #ARGV, 7 do
  local part, places, fence, untl = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], tonumber(ARGV[i + 3])
  local life, name, text = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6]
  local key, said = KEYS[3 + tonumber(part)], 1
  -- A box that was taken over meanwhile changes nothing any more.
  if string.match(redis.call('HGET', KEYS[1], part) or '', '^%S+ %d+') ~= box .. ' ' .. fence then
    said = 0
  else
    if text == '' then
      redis.call('HDEL', key, name)
    elseif redis.call('HLEN', key) < most or redis.call('HEXISTS', key, name) == 1 then
      redis.call('HSET', key, name, text)
      redis.call('PEXPIRE', key, life)
    else
      said = 2
    end
    if untl <= now then
      redis.call('ZREM', KEYS[2], name)
    elseif redis.call('ZSCORE', KEYS[2], name) or redis.call('ZCARD', KEYS[2]) < places then
      redis.call('ZADD', KEYS[2], untl, name)
      redis.call('PEXPIREAT', KEYS[2], tonumber(redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]))
    else
      said = 3
    end
  end
  reply[#reply + 1] = said
end
return reply

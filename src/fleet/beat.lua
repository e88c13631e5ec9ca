-- A box says that it lives and what it knows, and hears the same of the others.
-- KEYS: boxes by when they were last seen, epoch, news, what this box says of itself.
-- ARGV: box, Redis' run, last news heard, life of a box ms, news read at most, warm-up ms, description, news kept at most,
-- news' life ms, then one text for each piece of news to tell.
-- Replies: Redis' time, boxes alive, this box's place among them, 1 while warming up, then news as id and text in turn.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local life = tonumber(ARGV[4])
-- First what a full Redis refuses: after any other write it would let the rest pass.
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - life)
redis.call('PEXPIRE', KEYS[1], life)
redis.call('SET', KEYS[4], ARGV[7], 'PX', life)
-- A Redis that was started again may have forgotten: for a while every box counts for itself.
if redis.call('HGET', KEYS[2], 'run') ~= ARGV[2] then
  redis.call('HSET', KEYS[2], 'run', ARGV[2], 'since', now)
end
for i = 10, #ARGV do redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[8], '*', 'n', ARGV[i]) end
if #ARGV > 9 then redis.call('PEXPIRE', KEYS[3], ARGV[9]) end
local boxes, place = redis.call('ZRANGE', KEYS[1], 0, -1), 0
table.sort(boxes)
for i = 1, #boxes do if boxes[i] == ARGV[1] then place = i - 1 end end
local warming = (now - tonumber(redis.call('HGET', KEYS[2], 'since')) < tonumber(ARGV[6])) and 1 or 0
local reply = {now, #boxes, place, warming}
for _, entry in ipairs(redis.call('XRANGE', KEYS[3], '(' .. ARGV[3], '+', 'COUNT', ARGV[5])) do
  reply[#reply + 1] = entry[1]
  reply[#reply + 1] = entry[2][2]
end
return reply

-- Who has which partition of a bot and what waits there; writes nothing.
-- KEYS: leases, then the stream of each partition. Replies for each partition: its box or '', entries, age of the oldest ms;
-- nothing where no box of the bot ever shared updates.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local reply = {}
if redis.call('EXISTS', KEYS[1]) == 0 then return reply end
for part = 0, #KEYS - 2 do
  local stream = KEYS[part + 2]
  local holder, untl = string.match(redis.call('HGET', KEYS[1], part) or '', '^(%S+) %d+ (%d+)$')
  if not holder or tonumber(untl) <= now then holder = '' end
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  local age = first and now - tonumber(string.match(first[1], '^(%d+)')) or 0
  reply[#reply + 1] = holder
  reply[#reply + 1] = redis.call('XLEN', stream)
  reply[#reply + 1] = math.max(age, 0)
end
return reply

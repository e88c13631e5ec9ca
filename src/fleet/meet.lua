-- A box tells what it knows of the bot's people, and hears what others have told since it last heard.
-- KEYS: leases, facts by name, names by when they came. ARGV: last heard, facts read at most, facts there are at most, life ms, facts
-- that are no more leave after ms when there is no room, then three for each fact: name, version, value.
-- Replies: the number of the last fact told by anybody, then number, name, version and value of each.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local top = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
local last = math.max(tonumber(redis.call('HGET', KEYS[1], 'people') or '0'), tonumber(top or '0'))
local function read(name)
  local text = redis.call('HGET', KEYS[2], name)
  if not text then return nil end
  local version, value = string.match(text, '^(%d+) (.*)$')
  return tonumber(version or '0'), value or ''
end
local function has_room(name)
  if redis.call('HLEN', KEYS[2]) < tonumber(ARGV[3]) or redis.call('HEXISTS', KEYS[2], name) == 1 then return true end
  for _, old in ipairs(redis.call('HKEYS', KEYS[2])) do
    local version, value = read(old)
    if value == '' and version < now - tonumber(ARGV[5]) then
      redis.call('HDEL', KEYS[2], old)
      redis.call('ZREM', KEYS[3], old)
    end
  end
  return redis.call('HLEN', KEYS[2]) < tonumber(ARGV[3])
end
for i = 6, #ARGV, 3 do
  local name, version, value = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local known, was = read(name)
  if (not known or version > known or (version == known and value > was)) and has_room(name) then
    last = last + 1
    redis.call('HSET', KEYS[2], name, string.format('%d', version) .. ' ' .. value)
    redis.call('ZADD', KEYS[3], last, name)
  end
end
redis.call('HSET', KEYS[1], 'people', string.format('%d', last))
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
local reply = {last}
local found = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for i = 1, #found, 2 do
  local version, value = read(found[i])
  if version then
    reply[#reply + 1] = tonumber(found[i + 1])
    reply[#reply + 1] = found[i]
    reply[#reply + 1] = string.format('%d', version)
    reply[#reply + 1] = value
  end
end
return reply

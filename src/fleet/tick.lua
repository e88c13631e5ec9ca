-- A box of a bot says that it lives, what it has settled and what it lets go; it keeps, gains and loses partitions, and reads.
-- KEYS: boxes by when they were last seen, leases, then the stream of each partition.
-- ARGV: box, life of a box and a lease ms, name for a Redis that is new, highest fence seen, entries read at most, mode (1 takes part,
-- 0 takes nothing new, -1 leaves), then with their counts before them: partitions held (number, fence, cursor: '-' reads nothing,
-- '+' nothing before the sessions are known, '>' what is new, else takes over from there), partitions let go (number), settled entries (partition, id).
-- A lease is 'box fence until'. Replies, with counts before the lists: Redis' time, name of its data, boxes alive, this box's fair
-- part, entries in all streams, age of the oldest ms, number of the last fact about people, held (number, fence, cursor), lost (number), entries (partition, id, number, body, why).
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local box, life, mode = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[6])
local parts = #KEYS - 2
local at = 6
local function arg()
  at = at + 1
  return ARGV[at]
end
-- This first: it is allowed in a full Redis, and after it so is the rest. What is settled must be able to leave.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - life)
local known = redis.call('HGET', KEYS[2], 'partitions')
if known and tonumber(known) ~= parts then return redis.error_reply('PARTITIONS differ') end
local name = redis.call('HGET', KEYS[2], 'name')
if not name then
  name = ARGV[3]
  redis.call('HSET', KEYS[2], 'name', name, 'partitions', parts, 'fence', ARGV[4])
  -- Redis has lost its data: for a while each box takes what it had, with its people's sessions.
  if tonumber(ARGV[4]) > 0 then redis.call('HSET', KEYS[2], 'born', now) end
end
local function lease(part)
  local text = redis.call('HGET', KEYS[2], part)
  if not text then return nil end
  local holder, fence, untl = string.match(text, '^(%S+) (%d+) (%d+)$')
  return {holder = holder, fence = tonumber(fence), untl = tonumber(untl)}
end
local function write(part, fence, untl)
  redis.call('HSET', KEYS[2], part, box .. ' ' .. string.format('%d', fence) .. ' ' .. string.format('%d', untl))
end
local held, count, lost, had = {}, 0, {}, {}
local renewed = now - tonumber(redis.call('HGET', KEYS[2], 'born') or '0') < 2000
for _ = 1, tonumber(arg()) do
  local part, fence, cursor = arg(), tonumber(arg()), arg()
  local is = lease(part)
  if is and is.holder == box and is.fence == fence then
    held[tonumber(part)] = {fence = fence, cursor = cursor}
    count = count + 1
  elseif is then
    lost[#lost + 1] = part
  else
    had[tonumber(part)] = true
  end
end
for _ = 1, tonumber(arg()) do
  local part = arg()
  if held[tonumber(part)] then
    -- Free at once; the fence stays, so that whoever had it before still finds out.
    write(part, held[tonumber(part)].fence, 0)
    held[tonumber(part)] = nil
    count = count - 1
  end
end
for _ = 1, tonumber(arg()) do
  local part, id = arg(), arg()
  local stream = KEYS[3 + tonumber(part)]
  redis.call('XACK', stream, 'boxes', id)
  redis.call('XDEL', stream, id)
end
local boxes, target = {}, 0
if mode == 1 then
  redis.call('ZADD', KEYS[1], now, box)
  redis.call('PEXPIRE', KEYS[1], life)
  boxes = redis.call('ZRANGE', KEYS[1], 0, -1)
  table.sort(boxes)
  local place = 0
  for i = 1, #boxes do if boxes[i] == box then place = i - 1 end end
  target = math.floor(parts / #boxes) + ((place < parts % #boxes) and 1 or 0)
else
  redis.call('ZREM', KEYS[1], box)
  boxes = redis.call('ZRANGE', KEYS[1], 0, -1)
end
local fence = math.max(tonumber(redis.call('HGET', KEYS[2], 'fence') or '0'), tonumber(ARGV[4]))
for part = 0, parts - 1 do
  local own = held[part]
  if own then
    -- A box that leaves keeps its name on what it had: should it come back first, nothing was lost to it.
    write(part, own.fence, mode == -1 and 0 or now + life)
  elseif mode == 1 and (count < target or had[part]) then
    local is = lease(part)
    if is and is.untl < now or not is and (had[part] or not renewed) then
      fence = fence + 1
      write(part, fence, now + life)
      redis.call('HSET', KEYS[2], 'fence', fence)
      held[part] = {fence = fence, cursor = '+'}
      count = count + 1
    end
  end
end
local entries, room, backlog, oldest = {}, tonumber(ARGV[5]), 0, now
local first = math.floor(now / 100) % parts
for i = 0, parts - 1 do
  local part = (first + i) % parts
  local stream, own = KEYS[3 + part], held[part]
  backlog = backlog + redis.call('XLEN', stream)
  local head = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  if head then oldest = math.min(oldest, tonumber(string.match(head[1], '^%d+'))) end
  -- Without an entry there is no group to read with, and nothing to read.
  if own and own.cursor ~= '-' and own.cursor ~= '+' and room > 0 then
    local found = {}
    if head then
      redis.pcall('XGROUP', 'CREATE', stream, 'boxes', '0')
      if own.cursor ~= '>' then
        -- Whatever somebody before us was given and has not settled; older than anything new.
        local claimed = redis.call('XAUTOCLAIM', stream, 'boxes', box, 0, own.cursor, 'COUNT', room)
        found = claimed[2]
        own.cursor = claimed[1] == '0-0' and '>' or claimed[1]
      else
        local read = redis.call('XREADGROUP', 'GROUP', 'boxes', box, 'COUNT', room, 'STREAMS', stream, '>')
        if read then found = read[1][2] end
      end
    else
      own.cursor = '>'
    end
    for _, entry in ipairs(found) do
      if entry and entry[2] then
        local field = {}
        for n = 1, #entry[2], 2 do field[entry[2][n]] = entry[2][n + 1] end
        room = room - 1
        entries[#entries + 1] = {part, entry[1], field.u or '0', field.b or '', field.w or ''}
      end
    end
  end
end
local people = tonumber(redis.call('HGET', KEYS[2], 'people') or '0')
local reply = {now, name, #boxes, target, backlog, now - oldest, people, count}
for part = 0, parts - 1 do
  local own = held[part]
  if own then
    reply[#reply + 1] = part
    reply[#reply + 1] = own.fence
    reply[#reply + 1] = own.cursor
  end
end
reply[#reply + 1] = #lost
for _, part in ipairs(lost) do reply[#reply + 1] = part end
reply[#reply + 1] = #entries
for _, entry in ipairs(entries) do
  for _, field in ipairs(entry) do reply[#reply + 1] = field end
end
return reply

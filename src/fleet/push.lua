-- Stores updates that were delivered, each once, in the streams of their partitions.
-- KEYS: two for each update: the stream, the mark that it was stored. ARGV: entries a stream holds at most, life of a mark ms, then three
-- for each update: number, body, why it cannot be read. Replies: 1 for each that is stored, 0 where the stream is full.
local reply = {}
for i = 1, #KEYS / 2 do
  local stream, mark = KEYS[2 * i - 1], KEYS[2 * i]
  if redis.call('EXISTS', mark) == 1 then
    reply[i] = 1
  elseif redis.call('XLEN', stream) >= tonumber(ARGV[1]) then
    reply[i] = 0
  else
    redis.call('XADD', stream, '*', 'u', ARGV[3 * i], 'b', ARGV[3 * i + 1], 'w', ARGV[3 * i + 2])
    redis.call('SET', mark, 1, 'PX', ARGV[2])
    reply[i] = 1
  end
end
return reply

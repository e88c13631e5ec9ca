-- Counts one request of a (project, model) before it is sent, or says why it may not be.
-- KEYS: window of the last minute, use of the day by box, epoch.
-- ARGV: box, member, rpm, tpm, cap of the day, tokens, the box's own settled use today, window ms, warm-up ms, day's life ms.
-- Limits below 0 are none. Replies: verdict (0 granted, 1 minute, 2 day, 3 warming up), wait ms, use of the day by all.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local epoch = redis.call('HGET', KEYS[3], 'since')
if not epoch or now - tonumber(epoch) < tonumber(ARGV[9]) then return {3, 0, 0} end
local box, rpm, tpm, cap = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local tokens, window = tonumber(ARGV[6]), tonumber(ARGV[8])
-- What the box did while it could not tell is made up for here; telling twice changes nothing.
local own = tonumber(redis.call('HGET', KEYS[2], box) or '0')
local told = tonumber(ARGV[7])
local total = 0
for _, used in ipairs(redis.call('HVALS', KEYS[2])) do total = total + tonumber(used) end
if told > own then
  redis.call('HSET', KEYS[2], box, told)
  redis.call('PEXPIRE', KEYS[2], ARGV[10])
  total = total + told - own
end
if cap >= 0 and total >= cap then return {2, 0, total} end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
if rpm >= 0 then
  local count = redis.call('ZCARD', KEYS[1])
  if count >= rpm then
    local leaves = redis.call('ZRANGE', KEYS[1], count - math.max(rpm, 1), count - math.max(rpm, 1), 'WITHSCORES')
    local wait = window
    if leaves[2] then wait = tonumber(leaves[2]) + window - now end
    return {1, math.max(wait, 1), total}
  end
end
if tpm >= 0 then
  local sum, members = 0, redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  for i = 1, #members, 2 do sum = sum + tonumber(string.match(members[i], ':(%d+)$') or '0') end
  -- A request larger than the whole limit may go alone.
  if #members > 0 and sum + tokens > tpm then
    local wait = window
    for i = 1, #members, 2 do
      sum = sum - tonumber(string.match(members[i], ':(%d+)$') or '0')
      wait = tonumber(members[i + 1]) + window - now
      if sum + tokens <= tpm then break end
    end
    return {1, math.max(wait, 1), total}
  end
end
if rpm >= 0 then
  redis.call('ZADD', KEYS[1], now, ARGV[2] .. ':' .. ARGV[6])
  redis.call('PEXPIRE', KEYS[1], window)
end
redis.call('HINCRBY', KEYS[2], box, 1)
redis.call('PEXPIRE', KEYS[2], ARGV[10])
return {0, 0, total + 1}

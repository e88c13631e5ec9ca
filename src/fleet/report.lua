-- What a box has used today by its own ledger; only ever raises, so that telling twice changes nothing.
-- KEYS: use of the day by box, one for each pair. ARGV: box, day's life ms, then one count for each key. Replies: how many were not known.
local unknown = 0
for i = 1, #KEYS do
  local own = tonumber(redis.call('HGET', KEYS[i], ARGV[1]) or '0')
  if tonumber(ARGV[i + 2]) > own then
    unknown = unknown + tonumber(ARGV[i + 2]) - own
    redis.call('HSET', KEYS[i], ARGV[1], ARGV[i + 2])
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
end
return unknown

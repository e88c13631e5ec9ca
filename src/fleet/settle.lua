-- Ends what reserve.lua counted: with the tokens as Gemini counted them, or as never used.
-- KEYS: window of the last minute, use of the day by box.
-- ARGV: box, member, tokens as guessed, tokens as counted or -1 for never used. Replies: 1 when the request was known.
local score = redis.call('ZSCORE', KEYS[1], ARGV[2] .. ':' .. ARGV[3])
if ARGV[4] == '-1' then
  if score then redis.call('ZREM', KEYS[1], ARGV[2] .. ':' .. ARGV[3]) end
  local own = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
  if own > 0 then redis.call('HINCRBY', KEYS[2], ARGV[1], -1) end
elseif score and ARGV[3] ~= ARGV[4] then
  redis.call('ZREM', KEYS[1], ARGV[2] .. ':' .. ARGV[3])
  redis.call('ZADD', KEYS[1], score, ARGV[2] .. ':' .. ARGV[4])
end
return score and 1 or 0

-- Some of the sessions of a partition, for the box that has taken it over.
-- KEYS: its sessions. ARGV: how many were read before, how many to read at most. Replies: how many there are, then name and text in turn.
local names = redis.call('HKEYS', KEYS[1])
table.sort(names)
local reply = {#names}
for i = tonumber(ARGV[1]) + 1, math.min(#names, ARGV[1] + ARGV[2]) do
  reply[#reply + 1] = names[i]
  reply[#reply + 1] = redis.call('HGET', KEYS[1], names[i])
end
return reply

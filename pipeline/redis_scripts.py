"""What the Redis ledger must see and change at once, in Lua. Each is one command, whatever it does.

KEYS[1] is the hash of a job where nothing else is said, ARGV[1] the field of a piece of work in it.
"""

# Who has work in hand stands in `by:`, and stays there when its process dies and its lease runs out. What was announced
# has a hash; what was not, because its job has ended or all was forgotten, gets one for as long as tries in a row take.
START = """
local seen, by = unpack(redis.call('HMGET', KEYS[1], ARGV[1], 'by:' .. ARGV[1]))
if seen == 'ended' then return 'ended' end
if not redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return 'held' end
redis.call('HSET', KEYS[1], 'by:' .. ARGV[1], ARGV[2])
if ARGV[4] == '1' then redis.call('HINCRBY', KEYS[1], ARGV[1], 1) end
if not seen and redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[5]) end
return {tonumber(seen or '0'), by and 1 or 0}
"""
# A start whose answer got lost, perhaps with its effect: whoever asked does not know, and did not begin. What was not
# counted stays in doubt, which only means more care.
UNDO_START = """
if redis.call('GET', KEYS[2]) == ARGV[2] then redis.call('DEL', KEYS[2]) end
if ARGV[3] == '1' and redis.call('HGET', KEYS[1], 'by:' .. ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], 'by:' .. ARGV[1])
  if redis.call('HGET', KEYS[1], ARGV[1]) ~= 'ended' then redis.call('HINCRBY', KEYS[1], ARGV[1], -1) end
end
"""
RESTORE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= 'ended' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
"""
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
LET_GO = """
if redis.call('GET', KEYS[2]) == ARGV[2] then redis.call('DEL', KEYS[2]) end
if redis.call('HGET', KEYS[1], 'by:' .. ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], 'by:' .. ARGV[1]) end
"""
# A job that has ended has no hash any more, and gets none back: one that a start made goes.
END = """
if redis.call('GET', KEYS[2]) == ARGV[2] then redis.call('DEL', KEYS[2]) end
local left = redis.call('TTL', KEYS[1])
if left > tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], ARGV[1], 'ended')
elseif left > -2 then  -- there is one
  redis.call('DEL', KEYS[1])
end
"""
# A lease that was lost with all of Redis is taken back by whoever still works under it.
RENEW = """
local owner = redis.call('GET', KEYS[1])
if not owner or owner == ARGV[1] then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
"""
ANNOUNCE = """
local news = {}
for i = 2, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[1], ARGV[i], '0') == 1 then
    news[#news + 1] = (i - 2) / 2
    if ARGV[i + 1] ~= '' then redis.call('HINCRBY', KEYS[1], ARGV[i + 1], 1) end
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return news
"""
EXPECT = """
local lacking = {}
for i = 2, #ARGV, 2 do
  local seen = redis.call('HGET', KEYS[1], ARGV[i])
  if not seen or seen == 'ended' then redis.call('HSET', KEYS[1], ARGV[i], '0') end
  if ARGV[i + 1] ~= '' then lacking[ARGV[i + 1]] = (lacking[ARGV[i + 1]] or 0) + 1 end
end
for field, number in pairs(lacking) do redis.call('HSET', KEYS[1], field, number) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""
ANSWERED = """
local left
local seen = redis.call('HGET', KEYS[1], ARGV[1])
if not seen and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if seen == 'ended' then
  left = tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or '-1')
else
  redis.call('HSET', KEYS[1], ARGV[1], 'ended')
  redis.call('HINCRBYFLOAT', KEYS[1], 'figure:done', ARGV[3])
  left = redis.call('HINCRBY', KEYS[1], ARGV[2], ARGV[4])
end
if left == 0 then return 1 end
return 0
"""
ADMIT = """
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 1 end
if ARGV[2] ~= '' and redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SADD', KEYS[1], ARGV[1])
return 1
"""
LEAD = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

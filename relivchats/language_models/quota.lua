-- The quota gate of one model. insights/quota.py runs it in the broker, so all workers share one state, and each run is
-- atomic. Times are milliseconds by the broker's clock, unless the caller passes its own (a test).
--
-- KEYS: calls      sorted set  "<id>:<tokens>" of each call of the last minute, by the time it was admitted
--       queue      sorted set  ids of waiting calls, by turn and then by arrival
--       waiters    hash        id -> "<tokens> <group>"
--       deadlines  sorted set  ids of waiting calls, by the time after which their process is considered dead
--       waiting    hash        group -> number of its waiting calls
--       turns      sorted set  group -> its next turn
--       state      hash        turn, arrivals, tokens (sum of calls), blocked (until)
--       breaker    hash        reason, until, times
--       probe      string      id of the one call that may pass an open breaker or a pause
--       failures   string      number of calls in a row that the provider did not answer
local calls, queue, waiters, deadlines, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local turns, state, breaker, probe, failures = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]

local MINUTE, DAY, KEPT, DEAD_AFTER = 60000, 86400000, 7200000, 10000
local FIRST_PAUSE, LONGEST_PAUSE, MAX_FAILURES = 30000, 300000, 5
-- Scores are turn * ARRIVALS + arrival. They stay far below 2^53: both numbers restart when nobody waits.
local ARRIVALS = 100000000
-- The most rows that one run reads. A call whose turn is later than that asks again in two seconds.
local MAX_SCANNED = 1000

local operation, now, id = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function number(key, field)
  return tonumber(redis.call('HGET', key, field) or 0)
end

local function leave(member)
  local tokens, group = string.match(redis.call('HGET', waiters, member) or '', '^(%d+) (.*)$')
  redis.call('HDEL', waiters, member)
  redis.call('ZREM', queue, member)
  redis.call('ZREM', deadlines, member)
  if tokens then
    if redis.call('HINCRBY', waiting, group, -1) <= 0 then
      redis.call('HDEL', waiting, group)
    end
  end
end

-- Forget calls that are older than a minute, and waiting calls whose process no longer asks.
local function expire()
  local tokens = 0
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', calls, '-inf', now - MINUTE)) do
    tokens = tokens + tonumber(string.match(call, ':(%d+)$'))
  end
  redis.call('ZREMRANGEBYSCORE', calls, '-inf', now - MINUTE)
  if redis.call('EXISTS', calls) == 0 then
    redis.call('HDEL', state, 'tokens')
  elseif tokens > 0 then
    redis.call('HINCRBY', state, 'tokens', -tokens)
  end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', now - 1)) do
    leave(member)
  end
end

-- Return the score of a waiting call. A new one takes the turn after its group's other calls, or the present turn if
-- the group has none: a group with many calls delays another group by one call per turn.
local function join(group, tokens)
  redis.call('ZADD', deadlines, now + DEAD_AFTER, id)
  local score = redis.call('ZSCORE', queue, id)
  if not score then
    local turn = math.max(number(state, 'turn'), tonumber(redis.call('ZSCORE', turns, group) or 0))
    turn = turn + redis.call('HINCRBY', waiting, group, 1) - 1
    score = turn * ARRIVALS + redis.call('HINCRBY', state, 'arrivals', 1)
    redis.call('ZADD', queue, score, id)
    redis.call('HSET', waiters, id, tokens .. ' ' .. group)
  end
  return tonumber(score)
end

local function enter(group, tokens, score)
  leave(id)
  redis.call('ZADD', calls, now, id .. ':' .. tokens)
  redis.call('HINCRBY', state, 'tokens', tokens)
  local turn = math.floor(score / ARRIVALS)
  redis.call('HSET', state, 'turn', math.max(number(state, 'turn'), turn))
  redis.call('ZADD', turns, turn + 1, group)
  redis.call('ZREMRANGEBYSCORE', turns, '-inf', number(state, 'turn'))
  if redis.call('EXISTS', queue) == 0 then
    redis.call('DEL', turns)
    redis.call('HDEL', state, 'turn', 'arrivals')
  end
end

-- Return the milliseconds until so many requests and tokens of the last minute have expired.
local function wait_for(requests, tokens)
  if requests <= 0 and tokens <= 0 then
    return 0
  end
  local rows = redis.call('ZRANGE', calls, 0, MAX_SCANNED - 1, 'WITHSCORES')
  for index = 1, #rows, 2 do
    requests = requests - 1
    tokens = tokens - tonumber(string.match(rows[index], ':(%d+)$'))
    if requests <= 0 and tokens <= 0 then
      return math.max(1, rows[index + 1] + MINUTE - now)
    end
  end
  return MINUTE
end

local function open_breaker(reason, milliseconds)
  local until_time = now + milliseconds
  if redis.call('HGET', breaker, 'reason') == reason then
    -- Of several calls that fail together, the longest wait counts.
    until_time = math.max(until_time, number(breaker, 'until'))
  end
  redis.call('HSET', breaker, 'reason', reason, 'until', until_time)
  redis.call('PEXPIRE', breaker, until_time - now + DAY)
end

local function pause(times)
  redis.call('HSET', breaker, 'times', times)
  open_breaker('engine_unavailable', math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ^ math.min(times - 1, 10)))
end

local function admit()
  local group, tokens, max_requests, max_tokens = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local patience, probe_time, forced = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10] == '1'
  local reason = redis.call('HGET', breaker, 'reason') or ''
  local wait, probing = math.max(0, number(state, 'blocked') - now), reason ~= ''
  if forced and wait > 0 then
    wait, probing = 0, true
  end
  if reason ~= '' and number(breaker, 'until') > now and not forced then
    wait = math.max(wait, number(breaker, 'until') - now)
  elseif probing and redis.call('EXISTS', probe) == 1 then
    -- Another call finds out whether the provider answers again.
    wait = math.max(wait, 1000)
  end
  -- A wrong key does not correct itself while a call waits.
  local hopeless = reason ~= '' and reason ~= 'engine_unavailable' and reason ~= 'quota_exhausted'
    and reason ~= 'spend_limit_reached'
  if wait > 0 then
    if wait > patience or hopeless then
      leave(id)
      return {'refused', wait, reason}
    end
    join(group, tokens)
    return {'wait', wait, reason}
  end
  local score = join(group, tokens)
  local rank, before = 0, 0
  if not probing then
    rank = redis.call('ZRANK', queue, id)
  end
  local free = math.min(MAX_SCANNED, max_requests > 0 and max_requests - redis.call('ZCARD', calls) or rank + 1)
  local used, own = number(state, 'tokens'), math.min(tokens, max_tokens)
  if max_tokens > 0 and rank > 0 and rank < free then
    -- What is left belongs to the calls whose turn is earlier, even while they sleep.
    for _, row in ipairs(redis.call('HMGET', waiters, unpack(redis.call('ZRANGE', queue, 0, rank - 1)))) do
      before = before + math.min(max_tokens, tonumber(string.match(row, '^(%d+)')))
    end
  end
  local excess = max_tokens > 0 and used + before + own - max_tokens or 0
  -- A call that is larger than the limit is admitted alone.
  if rank < free and excess <= 0 then
    enter(group, tokens, score)
    if probing then
      redis.call('SET', probe, id, 'PX', probe_time)
    end
    return {'admitted', 0, reason}
  end
  wait = math.max(1, wait_for(rank + 1 - free, excess))
  -- A better turn may still come, so only a wait that even the first of the queue has is reason to give up early.
  if patience <= 0 or wait_for(1 - free, excess - before) > patience then
    leave(id)
    return {'refused', wait, reason}
  end
  return {'wait', wait, reason}
end

local function settle()
  local outcome, estimated, tokens = ARGV[4], ARGV[5], ARGV[6]
  local milliseconds, reason = tonumber(ARGV[7]), ARGV[8]
  local probed = redis.call('GET', probe) == id
  if probed then
    redis.call('DEL', probe)
  end
  local time = redis.call('ZSCORE', calls, id .. ':' .. estimated)
  if time and tokens ~= estimated then
    redis.call('ZREM', calls, id .. ':' .. estimated)
    redis.call('ZADD', calls, time, id .. ':' .. tokens)
    redis.call('HINCRBY', state, 'tokens', tokens - estimated)
  end
  if outcome == 'answered' then
    redis.call('DEL', failures)
    if probed then
      redis.call('DEL', breaker)
      redis.call('HDEL', state, 'blocked')
    end
  elseif outcome == 'blocked' then
    redis.call('HSET', state, 'blocked', math.max(number(state, 'blocked'), now + milliseconds))
  elseif outcome == 'open' then
    if milliseconds == 0 then
      -- A used-up quota without a time. Google's quotas of a day start again at midnight of UTC-8.
      milliseconds = math.min(60 * MINUTE, DAY - (now - 8 * 60 * MINUTE) % DAY)
    end
    open_breaker(reason, milliseconds)
  elseif outcome == 'unavailable' and probed then
    pause(number(breaker, 'times') + 1)
  elseif outcome == 'unavailable' and redis.call('EXISTS', breaker) == 0 then
    local count = redis.call('INCR', failures)
    if count == 1 then
      redis.call('PEXPIRE', failures, MINUTE)
    elseif count >= MAX_FAILURES then
      redis.call('DEL', failures)
      pause(1)
    end
  end
  return {outcome}
end

local function look()
  return {
    redis.call('ZCARD', calls),
    number(state, 'tokens'),
    redis.call('ZCARD', queue),
    math.max(0, number(state, 'blocked') - now),
    redis.call('HGET', breaker, 'reason') or '',
    math.max(0, number(breaker, 'until') - now),
  }
end

expire()
local operations = {admit = admit, settle = settle, look = look}
local answer = operations[operation]()
for _, key in ipairs({calls, queue, waiters, deadlines, waiting, turns, state}) do
  redis.call('PEXPIRE', key, KEPT)
end
return answer

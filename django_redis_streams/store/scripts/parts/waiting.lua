-- What waits until it is due: rows {lane, field, value, …}, as retry.lua and delay.lua pack them. Any client may write
-- others beside them.

-- Return the row, and the problem that keeps it from being moved, if any. Lua hands about 8,000 values to one command
-- (LUAI_MAXCSTACK): this package's rows have no more than 6,000 fields and values, see wire/names.py.
local function row_of(packed)
  local good, row = pcall(cmsgpack.unpack, packed)
  if not good or type(row) ~= 'table' then return nil, 'it is no packed list' end
  for i = 1, #row do
    if type(row[i]) ~= 'string' then return nil, 'it holds something else than text' end
  end
  if #row < 3 or #row % 2 == 0 then return nil, 'it is no lane with fields and their values' end
  if #row > 6001 then return row, string.format('it has %d fields, and at most 3000 can be moved', (#row - 1) / 2) end
  return row
end

-- The stream of a lane: `main` is that of the default lane, any other is `prefix` with the lane's name. `declared` has
-- the lanes as its keys: nobody reads one that isn't declared any more, so what is for it goes to the default lane.
local function lane_stream(lane, declared, main, prefix)
  return lane ~= 'default' and declared[lane] and prefix .. lane or main
end

-- Append a delayed message to its lane, within HARD_MAXLEN if there is one: `bound` is "" or that, `about` "=" or "~".
local function append(row, main, prefix, lanes, bound, about)
  local stream = lane_stream(row[1], lanes, main, prefix)
  if bound == '' then
    redis.call('XADD', stream, '*', unpack(row, 2))
  else
    redis.call('XADD', stream, 'MAXLEN', about, bound, '*', unpack(row, 2))
  end
end

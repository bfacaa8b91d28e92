-- What waits until it is due: rows {lane, field, value, …}, as retry.lua and delay.lua pack them. Any client may write
-- others beside them.

-- The row, and what keeps it from being moved, if anything does. Lua hands about 8,000 values to one command
-- (LUAI_MAXCSTACK): ours have no more than 6,000 fields and values, see wire/names.py.
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

-- Append a delayed message to its lane, within HARD_MAXLEN if there is one: `bound` is "" or that, `about` "=" or "~".
-- A lane that isn't declared any more nobody reads: then it is the default one.
local function append(row, main, prefix, lanes, bound, about)
  local stream = main
  if row[1] ~= 'default' and lanes[row[1]] then stream = prefix .. row[1] end
  if bound == '' then
    redis.call('XADD', stream, '*', unpack(row, 2))
  else
    redis.call('XADD', stream, 'MAXLEN', about, bound, '*', unpack(row, 2))
  end
end

-- How much of entries is returned: all of it; or, where the caller names fields, the values of these alone.

-- Return the named fields as the keys of a table, nil where none is named, and what follows them in ARGV. ARGV has at
-- `at` how many there are, and then their names.
local function named_fields(at)
  local count = tonumber(ARGV[at])
  if count == 0 then return nil, at + 1 end
  local names = {}
  for i = at + 1, at + count do names[ARGV[i]] = true end
  return names, at + count + 1
end

-- Return how many bytes a list has that holds fields and their values from `first` on. With names, every other value
-- becomes empty.
local function cut(list, first, names)
  local bytes = 0
  for i = 1, #list do bytes = bytes + #list[i] end
  if names then
    for i = first, #list - 1, 2 do
      if not names[list[i]] then list[i + 1] = '' end
    end
  end
  return bytes
end

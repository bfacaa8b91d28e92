-- The part of cmsgpack that the scripts need, for fakeredis, which has none: lists of texts. Packed, each text has its
-- length before it. Nothing but these scripts ever reads it.
local cmsgpack = {}

function cmsgpack.pack(list)
  local parts = {}
  for _, text in ipairs(list) do
    text = tostring(text)
    parts[#parts + 1] = #text .. ':' .. text
  end
  return table.concat(parts)
end

function cmsgpack.unpack(packed)
  local list, at = {}, 1
  while at <= #packed do
    local first, last, length = string.find(packed, '^(%d+):', at)
    if not first then error('not packed by cmsgpack.pack') end
    list[#list + 1] = string.sub(packed, last + 1, last + length)
    at = last + length + 1
  end
  return list
end

-- Not a global of its own: fakeredis refuses those, as a server does.
setmetatable(_G, {__index = {cmsgpack = cmsgpack}})
return 1

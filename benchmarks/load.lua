-- What wrk sends. Arguments: METHOD PATH AUTHORIZATION TEMPLATE MODE [FIRST | FILE] [HIT-HEADER]
--   fixed FIRST   the request with the number FIRST, again and again
--   traced FIRST  the same body, but a new X-Request-Id each time, as tracing clients send it
--   count FIRST   a new number each time, from FIRST upwards
--   cycle FILE    the numbers in FILE (one a line), again and again
--   once FILE     the numbers in FILE, each once, then stop (one connection)
-- With HIT-HEADER every answer is checked to carry that header with the value HIT.
-- Ends with one line of JSON, which wrk.py reads.

local MARK = "@@@@@@@@@@@@"
local threads = {}

hits, others = 0, 0

function setup(thread)
   table.insert(threads, thread)
end

local function read_numbers(name)
   local numbers = {}
   for line in io.lines(name) do
      numbers[#numbers + 1] = tonumber(line)
   end
   return numbers
end

function init(args)
   local method, path, authorization, template_file, mode, source, header = unpack(args, 1, 7)
   local headers = { ["Authorization"] = authorization }
   local before, after = nil, nil
   if template_file ~= "-" then
      local file = assert(io.open(template_file, "rb"))
      local template = file:read("*a")
      file:close()
      local from, to = template:find(MARK, 1, true)
      before, after = template:sub(1, from - 1), template:sub(to + 1)
      headers["Content-Type"] = "application/json"
   end
   local function make(number)
      local body = before and (before .. string.format("%012d", number) .. after) or nil
      return wrk.format(method, path, headers, body)
   end

   if mode == "fixed" then
      local one = make(tonumber(source))
      request = function() return one end
   elseif mode == "traced" then
      local body = before .. string.format("%012d", tonumber(source)) .. after
      local traced = 0
      request = function()
         traced = traced + 1
         headers["X-Request-Id"] = string.format("%012d", traced)
         return wrk.format(method, path, headers, body)
      end
   elseif mode == "count" then
      local number = tonumber(source) - 1
      request = function()
         number = number + 1
         return make(number)
      end
   else
      local made = {}
      for i, number in ipairs(read_numbers(source)) do
         made[i] = make(number)
      end
      local i, answered = 0, 0
      request = function()
         i = i % #made + 1
         return made[i]
      end
      local wanted = header and header:lower() or nil
      if wanted or mode == "once" then
         response = function(_, fields)
            local found = nil
            for name, value in pairs(fields) do
               if name:lower() == wanted then found = value end
            end
            if found == "HIT" then hits = hits + 1 else others = others + 1 end
            answered = answered + 1
            if mode == "once" and answered == #made then wrk.thread:stop() end
         end
      end
   end
end

function done(summary, latency, _)
   local hit, other = 0, 0
   for _, thread in ipairs(threads) do
      hit = hit + (thread:get("hits") or 0)
      other = other + (thread:get("others") or 0)
   end
   local e = summary.errors
   io.write(string.format(
      '{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "mean": %.3f, "hits": %d, "others": %d, ' ..
      '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.mean, hit, other,
      e.connect, e.read, e.write, e.status, e.timeout))
end

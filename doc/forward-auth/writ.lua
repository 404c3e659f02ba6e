-- Asks a Writ gateway about each request (forward-auth) and does as it says.
-- Fails closed: what is not an answer of 200 is a refusal.

local check = "http://127.0.0.1:8402/check" -- gateway.check.listen
local patience = 10000 -- milliseconds

-- Headers that describe the request to the gateway. The client's own of these
-- names are neither sent with the question nor passed to the service.
local description = {
    "x-forwarded-method", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri", "x-forwarded-for",
    "x-original-method", "x-original-url", "x-original-uri",
}

-- Headers of the connection and of the content, which the question has not.
local private = {
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "content-length", "expect", "host",
}

local left = {}
for _, names in ipairs({ description, private }) do
    for _, name in ipairs(names) do
        left[name] = true
    end
end

local function first(headers, name)
    local values = headers[name]
    return values and values[0] or ""
end

local function refuse(txn, status, headers, body)
    local reply = txn:reply({ status = status })
    for name, values in pairs(headers) do
        if name == "content-type" or name == "cache-control" or name == "www-authenticate" or name == "allow"
            or name == "retry-after" or name == "vary" or name:find("^access%-control%-") then
            for _, value in pairs(values) do
                reply:add_header(name, value)
            end
        end
    end
    reply:set_body(body or "")
    txn:done(reply)
end

core.register_action("writ", { "http-req" }, function(txn)
    local asked = {}
    for name, values in pairs(txn.http:req_get_headers()) do
        if not left[name] then
            asked[name] = {}
            for i = 0, #values do
                asked[name][i + 1] = values[i]
            end
        end
    end
    local scheme = "http"
    if txn.f:ssl_fc() == 1 then
        scheme = "https"
    end
    asked["x-forwarded-method"] = { txn.f:method() }
    asked["x-forwarded-proto"] = { scheme }
    asked["x-forwarded-host"] = { txn.f:req_hdr("host") or "" }
    asked["x-forwarded-uri"] = { txn.f:pathq() or "" } -- as it came; HAProxy decodes nothing
    asked["x-forwarded-for"] = { txn.f:src() }

    local answer = core.httpclient():get({ url = check, headers = asked, timeout = patience })
    if not answer or answer.status ~= 200 then
        if not answer or not answer.status or answer.status < 400 then
            refuse(txn, 503, {})
        else
            refuse(txn, answer.status, answer.headers, answer.body)
        end
        return
    end

    for _, name in ipairs(description) do
        txn.http:req_del_header(name)
    end
    for name in first(answer.headers, "writ-remove"):gmatch("[^, ]+") do
        txn.http:req_del_header(name)
    end
    for _, name in ipairs({ "authorization", "cookie", "txn-token" }) do
        local value = first(answer.headers, name)
        if value == "" then
            txn.http:req_del_header(name)
        else
            txn.http:req_set_header(name, value)
        end
    end
    txn.http:req_set_uri(first(answer.headers, "writ-uri"))
end, 0)

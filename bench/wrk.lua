-- The call that every contender gets, and the result as one line of JSON for bench/load.py.

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-API-Key"] = os.getenv("BENCH_API_KEY")
wrk.body = os.getenv("BENCH_BODY")

function done(summary, latency)
   local errors = summary.errors
   print(string.format(
      '{"answers": %d, "microseconds": %d, "refused": %d, "broken": %d, "p50": %.0f, "p99": %.0f}',
      summary.requests, summary.duration, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50), latency:percentile(99)
   ))
end

// Twin: the sampler's trees by hand in C++, for `last` and `uniform`; the bound that benchmarks/sampling.py compares with.
//
// The same stages and prefetches, the same draws, so the same rows; but nothing else: one call for all hops, buffers that
// are kept between calls, no windows, ends or weights.
#include <algorithm>
#include <cstdint>
#include <vector>

typedef int64_t i64;
typedef int32_t i32;
typedef uint64_t u64;

struct Edge {
  i64 table, other;
  const i32 *forward;  // null for a reverse edge
  const i64 *offsets;
  const i32 *rows;
  const i64 *times;  // null where the rows themselves are compared with the cut
};

struct Frontier {
  std::vector<i64> rows;
  std::vector<i32> seed;
};

static const i64 STAGE = 256, AHEAD = 16, ALL = INT64_MAX;
static const u64 GAMMA = 0x9E3779B97F4A7C15ull;

static inline u64 mix(u64 b) {
  b = (b ^ (b >> 30)) * 0xBF58476D1CE4E5B9ull;
  b = (b ^ (b >> 27)) * 0x94D049BB133111EBull;
  return b ^ (b >> 31);
}
static inline u64 fold(u64 key, u64 value) { return mix((key ^ value) + GAMMA); }
static inline i64 draw(u64 key, i64 counter, i64 below) {
  return (i64)((double)(mix(key + (u64)(counter + 1) * GAMMA) >> 11) * 0x1p-53 * (double)below);
}

static std::vector<i64> cuts_of(const i64 *times, i64 num_rows, const i64 *as_of, i64 n) {
  std::vector<i64> cuts(n, num_rows);
  if (!times) return cuts;
  std::vector<std::pair<i64, i64>> order(n);
  for (i64 i = 0; i < n; i++) order[i] = {as_of[i], i};
  std::sort(order.begin(), order.end());
  for (i64 i = 0; i < n; i++) {
    bool same = i && order[i].first == order[i - 1].first;
    cuts[order[i].second] =
        same ? cuts[order[i - 1].second] : std::upper_bound(times, times + num_rows, order[i].first) - times;
  }
  return cuts;
}

template <class Mark>
static void count(const Frontier &front, const Edge &edge, const Mark *marks, const i64 *cuts, i64 fanout, i64 *begin,
                  i64 *stop, i64 *ends) {
  i64 num = front.rows.size(), total = 0;
  for (i64 start = 0; start < num; start += STAGE) {
    i64 end = std::min(start + STAGE, num);
    for (i64 i = start; i < end; i++) begin[i] = edge.offsets[front.rows[i]], stop[i] = edge.offsets[front.rows[i] + 1];
    for (i64 i = start; i < end; i++) {
      __builtin_prefetch(marks + stop[i] - 1);
      __builtin_prefetch(marks + ((begin[i] + stop[i]) >> 1));
    }
    for (i64 i = start; i < end; i++) {
      i64 cut = cuts[front.seed[i]];
      if (stop[i] > begin[i] && marks[stop[i] - 1] >= cut)
        stop[i] = std::lower_bound(marks + begin[i], marks + stop[i] - 1, cut) - marks;
    }
    for (i64 i = start; i < end; i++) total += std::min(fanout, stop[i] - begin[i]), ends[i] = total;
  }
}

static void choose(u64 key, i64 num_visible, i64 *chosen, i64 num) {
  for (i64 j = 0; j < num; j++) chosen[j] = j + draw(key, j, num_visible - j);
  for (i64 j = num - 1; j > 0; j--) {
    i64 position = chosen[j];
    for (i64 i = j - 1; i >= 0; i--)
      if (chosen[i] == position) position = i;
    chosen[j] = position;
  }
}

// Sampled edges; rows of every table, hop after hop, into `out` unless that is null.
extern "C" i64 sample(const Edge *edges, i64 num_edges, const i64 *fanouts, const i64 *wholes, i64 num_hops,
                      const i64 *const *times, const i64 *num_rows, i64 num_tables, i64 seed_table, const i64 *seed_rows,
                      const i64 *as_of, i64 n, u64 run_key, i64 uniform, i64 *const *out) {
  static thread_local std::vector<std::vector<Frontier>> hops;
  static thread_local std::vector<i64> begin, stop, ends;
  hops.resize(num_hops + 1);
  std::vector<std::vector<i64>> cuts(num_tables);
  std::vector<u64> keys(n);
  for (i64 i = 0; i < n; i++) keys[i] = fold(fold(run_key, seed_rows[i]), as_of[i]);
  for (auto &hop : hops) {
    hop.resize(num_tables);
    for (auto &front : hop) front.rows.clear(), front.seed.clear();
  }
  hops[0][seed_table].rows.assign(seed_rows, seed_rows + n);
  for (i64 i = 0; i < n; i++) hops[0][seed_table].seed.push_back(i);
  i64 num_found = 0;
  for (i64 hop = 1; hop <= num_hops; hop++)
    for (i64 e = 0; e < num_edges; e++) {
      const Edge &edge = edges[e];
      const Frontier &front = hops[hop - 1][edge.table];
      Frontier &next = hops[hop][edge.other];
      i64 num = front.rows.size(), fanout = fanouts[e * num_hops + hop - 1], whole = wholes[e * num_hops + hop - 1];
      if (!num || !fanout) continue;
      if (fanout < 0) fanout = ALL;
      if (cuts[edge.other].empty()) {
        cuts[edge.other] = cuts_of(times[edge.other], num_rows[edge.other], as_of, n);
        if (edge.times)
          for (i64 i = 0; i < n; i++) cuts[edge.other][i] = as_of[i] + 1;
      }
      const i64 *cut = cuts[edge.other].data();
      i64 place = next.rows.size();
      if (edge.forward) {
        next.rows.resize(place + num), next.seed.resize(place + num);
        i64 first = place;
        for (i64 i = 0; i < num; i++) {
          if (i + AHEAD < num) __builtin_prefetch(edge.forward + front.rows[i + AHEAD]);
          i64 row = edge.forward[front.rows[i]];
          next.rows[place] = row, next.seed[place] = front.seed[i];
          place += row >= 0 && row < cut[front.seed[i]];
        }
        next.rows.resize(place), next.seed.resize(place), num_found += place - first;
        continue;
      }
      begin.resize(num), stop.resize(num), ends.resize(num);
      if (edge.times)
        count(front, edge, edge.times, cut, fanout, begin.data(), stop.data(), ends.data());
      else
        count(front, edge, edge.rows, cut, fanout, begin.data(), stop.data(), ends.data());
      next.rows.resize(place + ends[num - 1]), next.seed.resize(place + ends[num - 1]), num_found += ends[num - 1];
      i64 *rows = next.rows.data() + place;
      i32 *seed = next.seed.data() + place;
      for (i64 start = 0; start < num; start += STAGE) {
        i64 end = std::min(start + STAGE, num), low = start ? ends[start - 1] : 0;
        for (i64 i = start, from = low; i < end; from = ends[i], i++) {
          i64 taken = ends[i] - from, num_visible = stop[i] - begin[i];
          for (i64 j = from; j < ends[i]; j++) seed[j] = front.seed[i];
          if (!uniform || (taken == num_visible && taken <= whole)) {
            for (i64 j = 0; j < taken; j++) rows[from + j] = stop[i] - 1 - j;
          } else if (taken) {
            u64 key = fold(fold(keys[front.seed[i]], (u64)hop << 32 | (u64)e), front.rows[i]);
            choose(key, num_visible, rows + from, taken);
            for (i64 j = 0; j < taken; j++) rows[from + j] += begin[i];
          }
        }
        for (i64 j = low; j < ends[end - 1]; j++) {
          if (j + AHEAD < ends[end - 1]) __builtin_prefetch(edge.rows + rows[j + AHEAD]);
          rows[j] = edge.rows[rows[j]];
        }
      }
    }
  if (out)
    for (i64 table = 0; table < num_tables; table++) {
      i64 *to = out[table];
      for (auto &hop : hops) to = std::copy(hop[table].rows.begin(), hop[table].rows.end(), to);
    }
  return num_found;
}

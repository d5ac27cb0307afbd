// The product of gate and up and the activation behind it, a few columns at a time: with many rows their floats would
// be written to the outer caches and read back, four fifths of all that a feed-forward layer moves.
#include <algorithm>

#include "core/executor.h"

namespace wayra {
namespace {
// Columns of gate, and of up, at a time: with kMostRows rows they fill a small part of the second cache.
constexpr int kColumns = 128;
static_assert(kColumns % kLanes == 0 && kColumns % kGroup == 0);

bool read_by(const Op& op, int buffer) {
  return std::visit(
      [&](const auto& o) {
        if constexpr (requires { o.in; }) return o.in == buffer;
        if constexpr (requires { o.qkv; }) return o.qkv == buffer;
        if constexpr (requires { o.q; }) return o.q == buffer;
        if constexpr (requires { o.delta; }) return o.x == buffer || o.delta == buffer;
        return false;
      },
      op);
}
}  // namespace

bool Executor::find_gated(size_t index) const {
  if (index + 1 >= ops_.size()) return false;
  const auto* linear = std::get_if<LinearOp>(&ops_[index]);
  const auto* swiglu = std::get_if<SwigluOp>(&ops_[index + 1]);
  if (!linear || !swiglu || swiglu->in != linear->out || linear->parts.size() != 2 || linear->quantise_input)
    return false;
  const auto rows = [&](size_t part) { return matrices_[static_cast<size_t>(linear->parts[part])].rows; };
  const auto reads = [&](const Op& op) { return read_by(op, linear->out); };
  return rows(0) == rows(1) && logits_.in != linear->out && std::count_if(ops_.begin(), ops_.end(), reads) == 1;
}

// The product's own buffer is not written.
void Executor::run_gated(size_t index, Rows rows, int thread) {
  const auto& linear = std::get<LinearOp>(ops_[index]);
  const auto& swiglu = std::get<SwigluOp>(ops_[index + 1]);
  const Product p = product_of(linear);
  const Buffer& out = buffers_[static_cast<size_t>(swiglu.out)];
  const int64_t count = rows.end - rows.begin;
  Scratch& s = scratch_[static_cast<size_t>(thread)];
  s.gated.resize(static_cast<size_t>(std::max(count, kMostRows)) * 2 * kColumns);
  float* both = s.gated.data();
  for (int column = 0; column < out.cols; column += kColumns) {
    const int columns = std::min(kColumns, out.cols - column);
    profile_.enter(thread, index + 1);
    for (int part = 0; part < 2; ++part) {
      const PackedMatrix& m = matrices_[static_cast<size_t>(p.parts[static_cast<size_t>(part)])];
      // The kernel adds the row and the column of an element to where it writes.
      float* base = both + part * kColumns - rows.begin * 2 * kColumns - column;
      kernels_->linear({&m, &p.x, p.bias ? p.bias + part * out.cols : nullptr, base, 2 * kColumns, column / kLanes,
                        (column + columns + kLanes - 1) / kLanes, static_cast<int32_t>(rows.begin),
                        static_cast<int32_t>(rows.end), pair_panels_});
    }
    profile_.enter(thread, index + 2);
    // In place, unless somebody reads the floats. `values` and its stride are those of whole rows.
    const int64_t stride = out.f32 ? out.cols : 2 * kColumns;
    float* values = out.f32 ? out.values + rows.begin * stride : both - column;
    for (int64_t r = 0; r < count; ++r) {
      const float* gate = both + r * 2 * kColumns;
      kernels_->swiglu(gate, gate + kColumns, columns, values + r * stride + column);
    }
    emit_rows(out, rows, values, stride, {column / kGroup, (column + columns + kGroup - 1) / kGroup});
  }
}

}  // namespace wayra

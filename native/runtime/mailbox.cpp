#include "runtime/mailbox.h"

#include <utility>

#include "base/error.h"

namespace kraken {

RequestId Mailbox::post(std::unique_ptr<Sequence> request) {
  std::lock_guard lock(mutex_);
  check_admission({stopped_, closed_code_, closed_message_, queued_, bound_});
  const RequestId id = request->request != 0 ? request->request : ++last_id_;
  const auto number = [&](Sequence& sequence) {
    sequence.request = id;
    sequence.arrival = next_arrival_++;
  };
  number(*request);
  for (auto& sibling : request->siblings) number(*sibling);
  mail_.requests.push_back(std::move(request));
  ++queued_;
  wake_.notify_one();
  return id;
}

void Mailbox::cancel(RequestId id) {
  std::lock_guard lock(mutex_);
  if (stopped_ || !closed_code_.empty()) return;  // everything ends anyway
  mail_.cancellations.push_back(id);
  wake_.notify_one();
}

void Mailbox::stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  mail_.stop = true;
  wake_.notify_one();
}

Mailbox::Mail Mailbox::collect(bool busy) {
  std::unique_lock lock(mutex_);
  if (!busy) {
    wake_.wait(lock,
               [this] { return mail_.stop || !mail_.requests.empty() || !mail_.cancellations.empty(); });
  }
  return std::exchange(mail_, Mail{});
}

void Mailbox::left_queue(int32_t count) {
  if (count == 0) return;
  {
    std::lock_guard lock(mutex_);
    queued_ -= count;
  }
  observer_.left(count);
}

std::vector<std::unique_ptr<Sequence>> Mailbox::close(const std::string& code, const std::string& message) {
  std::vector<std::unique_ptr<Sequence>> uncollected;
  {
    std::lock_guard lock(mutex_);
    closed_code_ = code;
    closed_message_ = message;
    mail_.cancellations.clear();
    uncollected = std::exchange(mail_.requests, {});
  }
  observer_.closed(code, message);
  return uncollected;
}

std::string Mailbox::closed() {
  std::lock_guard lock(mutex_);
  return closed_message_;
}

int32_t Mailbox::uncollected() {
  std::lock_guard lock(mutex_);
  int32_t count = 0;
  for (const auto& request : mail_.requests) count += 1 + static_cast<int32_t>(request->siblings.size());
  return count;
}

}  // namespace kraken

#include "server/owner/admin_messages.h"

#include "absl/time/time.h"

namespace gradoracle {
namespace {

v1::Account ToAccountMessage(const Account& account) {
  v1::Account message;
  message.set_principal(account.principal);
  *message.mutable_limit() = ToMessage(Limit{account.limit});
  message.set_spent(account.spent);
  message.set_revoked(account.revoked);
  return message;
}

Account FromAccountMessage(const v1::Account& message) {
  Account account;
  account.principal = message.principal();
  account.limit = FromMessage(message.limit()).gradients;
  account.spent = message.spent();
  account.revoked = message.revoked();
  return account;
}

}  // namespace

v1::Limit ToMessage(const Limit& limit) {
  v1::Limit message;
  if (limit.gradients.has_value()) message.set_gradients(*limit.gradients);
  return message;
}

Limit FromMessage(const v1::Limit& limit) {
  return {limit.has_gradients() ? std::optional<int64_t>(limit.gradients()) : std::nullopt};
}

v1::Token ToMessage(const StoredToken& token) {
  v1::Token message;
  message.set_id(token.id);
  message.set_principal(token.principal);
  message.mutable_created()->set_seconds(absl::ToUnixSeconds(token.created));
  if (token.expires != absl::InfiniteFuture()) {
    message.mutable_expires()->set_seconds(absl::ToUnixSeconds(token.expires));
  }
  message.set_revoked(token.revoked);
  return message;
}

StoredToken FromMessage(const v1::Token& message) {
  StoredToken token;
  token.id = message.id();
  token.principal = message.principal();
  token.created = absl::FromUnixSeconds(message.created().seconds());
  if (message.has_expires()) token.expires = absl::FromUnixSeconds(message.expires().seconds());
  token.revoked = message.revoked();
  return token;
}

v1::ListTokensResponse ToMessage(const Holdings& holdings) {
  v1::ListTokensResponse message;
  for (const StoredToken& token : holdings.tokens) *message.add_tokens() = ToMessage(token);
  for (const Account& account : holdings.accounts) *message.add_accounts() = ToAccountMessage(account);
  *message.mutable_dataset() = ToAccountMessage(holdings.dataset);
  return message;
}

Holdings FromMessage(const v1::ListTokensResponse& message) {
  Holdings holdings;
  for (const v1::Token& token : message.tokens()) holdings.tokens.push_back(FromMessage(token));
  for (const v1::Account& account : message.accounts()) holdings.accounts.push_back(FromAccountMessage(account));
  holdings.dataset = FromAccountMessage(message.dataset());
  return holdings;
}

}  // namespace gradoracle

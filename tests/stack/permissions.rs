//! Who may do what. The emulator checks every call against the role of whoever makes it, so that the other tests
//! show that each role can do its work; here is what nobody may do. `xtask/src/permissions.rs` has all that is
//! allowed, and says which test needs it.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use e2e::stack::{Stack, unique};

#[tokio::test]
async fn not_even_the_account_itself_may_put_messages_into_the_queue() {
    let stack = Stack::running();
    let caller = stack.caller();
    let (id, url) = (unique("forged"), &stack.at.queue_url);

    let send = stack.sqs.send_message().queue_url(url).message_body(r#"{"a":1}"#).send().await;

    assert_denied(send, "SendMessage");
    // Looking is allowed, and the way in is open.
    assert!(stack.max_receive_count().await > 0);
    let queued = caller.queued(&id, r#"{"a":1}"#).await;
    assert_eq!(caller.outcome(&queued).await.state(), "stored");
}

#[tokio::test]
async fn the_role_of_a_redrive_may_move_dead_letters_back_and_do_nothing_else() {
    let stack = Stack::running();
    let redriving = stack.redriving().await;
    let (queue, dead_letters) = (&stack.at.queue_url, &stack.at.dead_letter_queue_url);

    assert_denied(redriving.receive_message().queue_url(queue).send().await, "ReceiveMessage");
    assert_denied(redriving.purge_queue().queue_url(queue).send().await, "PurgeQueue");
    assert_denied(redriving.purge_queue().queue_url(dead_letters).send().await, "PurgeQueue");
    assert_denied(redriving.delete_queue().queue_url(dead_letters).send().await, "DeleteQueue");
    let forged = redriving.send_message().queue_url(dead_letters).message_body("{}").send().await;
    assert_denied(forged, "SendMessage");
    for url in [queue, dead_letters] {
        redriving.get_queue_attributes().queue_url(url).send().await.expect("allowed");
    }
    let received = redriving.receive_message().queue_url(dead_letters).visibility_timeout(0);
    received.send().await.expect("allowed");
    // No letter of another test is touched: who is not allowed is told so before anybody looks for the letter.
    let hidden = redriving.change_message_visibility().queue_url(dead_letters).receipt_handle("none");
    assert_allowed(hidden.visibility_timeout(0).send().await);
    let deleted = redriving.delete_message().queue_url(dead_letters).receipt_handle("none");
    assert_allowed(deleted.send().await);
}

#[tokio::test]
async fn a_batch_is_stored_as_one() {
    let stack = Stack::running();
    let caller = stack.caller();
    let queued = caller.queued(&unique("q"), r#"{"a":1}"#).await;
    assert_eq!(caller.outcome(&queued).await.state(), "stored");
    stack.settled(&queued.receipt).await;
    // Without its permission for that, the consumer would store each message by itself, and say so.
    assert_eq!(stack.logged("a batch was refused").await, Vec::<String>::new());
}

fn assert_allowed<T, E: ProvideErrorMetadata + std::fmt::Debug>(answer: Result<T, SdkError<E>>) {
    if let Err(error) = answer {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        assert_eq!(code, Some("ReceiptHandleIsInvalid"), "{error:?}");
    }
}

fn assert_denied<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    answer: Result<T, SdkError<E>>,
    action: &str,
) {
    let error = answer.expect_err(action);
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default().to_owned();
    assert!(code.contains("AccessDenied"), "{action}: {error:?}");
}

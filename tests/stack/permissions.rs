//! What is not allowed. The emulator checks every call against the caller's role, so the other tests show that each
//! role allows enough. `xtask/checks/permissions.txt` lists all that is allowed.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use e2e::stack::{Stack, unique};

#[tokio::test]
async fn not_even_the_account_itself_may_send_to_the_queue() {
    let stack = Stack::running();
    let caller = stack.caller();
    let (id, url) = (unique("forged"), &stack.at.queue_url);

    let send = stack.sqs.send_message().queue_url(url).message_body(r#"{"a":1}"#).send().await;

    assert_denied(send, "SendMessage");
    // Reading its attributes is allowed, and so is the gateway.
    stack.sqs.get_queue_attributes().queue_url(url).send().await.expect("allowed");
    let queued = caller.queued(&id, r#"{"a":1}"#).await;
    assert_eq!(caller.outcome(&queued).await.message_status(), "stored");
}

#[tokio::test]
async fn the_role_of_the_redrive_may_redrive_dead_letters_and_nothing_else() {
    let stack = Stack::running();
    let redrive = stack.sending_sqs().await;
    let (queue, dead_letters) = (&stack.at.queue_url, &stack.at.dead_letter_queue_url);

    assert_denied(redrive.receive_message().queue_url(queue).send().await, "ReceiveMessage");
    assert_denied(redrive.purge_queue().queue_url(queue).send().await, "PurgeQueue");
    assert_denied(redrive.purge_queue().queue_url(dead_letters).send().await, "PurgeQueue");
    assert_denied(redrive.delete_queue().queue_url(dead_letters).send().await, "DeleteQueue");
    let forged = redrive.send_message().queue_url(dead_letters).message_body("{}").send().await;
    assert_denied(forged, "SendMessage");
    redrive.get_queue_attributes().queue_url(dead_letters).send().await.expect("allowed");
    let received = redrive.receive_message().queue_url(dead_letters).visibility_timeout(0);
    received.send().await.expect("allowed");
    // Permissions are checked before the receipt handle is. An invalid one affects no letter of another test.
    let hidden = redrive.change_message_visibility().queue_url(dead_letters).receipt_handle("none");
    assert_allowed(hidden.visibility_timeout(0).send().await);
    let deleted = redrive.delete_message().queue_url(dead_letters).receipt_handle("none");
    assert_allowed(deleted.send().await);
}

#[tokio::test]
async fn a_batch_is_stored_in_one_request() {
    let stack = Stack::running();
    let caller = stack.caller();
    let queued = caller.queued(&unique("q"), r#"{"a":1}"#).await;
    assert_eq!(caller.outcome(&queued).await.message_status(), "stored");
    stack.settled(&queued.receipt).await;
    // Without its permission for that, the consumer would store each message by itself, and say so.
    assert_eq!(stack.logged("a batch was rejected").await, Vec::<String>::new());
}

fn assert_allowed<T, E: ProvideErrorMetadata + std::fmt::Debug>(result: Result<T, SdkError<E>>) {
    if let Err(error) = result {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        assert_eq!(code, Some("ReceiptHandleIsInvalid"), "{error:?}");
    }
}

fn assert_denied<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E>>,
    action: &str,
) {
    let error = result.expect_err(action);
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default().to_owned();
    assert!(code.contains("AccessDenied"), "{action}: {error:?}");
}

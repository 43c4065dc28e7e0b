use aegis_tests::Worker;

/// What travels in plaintext can be read and answered by anyone on the way.
#[tokio::test(flavor = "multi_thread")]
async fn plaintext_to_another_machine_is_refused_unless_it_is_wanted() {
    let worker = Worker::new("http://192.0.2.1:50056");
    for subcommand in [&[][..], &["check-config"]] {
        let answer = worker.run(subcommand).await;
        assert_eq!(answer.code, 2, "{answer:#?}");
        assert!(answer.stderr.contains("--insecure"), "{answer:#?}");
        assert!(answer.stderr.contains("192.0.2.1"), "{answer:#?}");
    }
    let answer = worker
        .arguments(&["--insecure"])
        .run(&["check-config"])
        .await;
    assert_eq!(answer.code, 0, "{answer:#?}");
}

/// It says so and goes on trying: no controller is a state, not an error.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_controller_is_named_and_tried_again() {
    let address = aegis_tests::free_address();
    let worker = Worker::new(&format!("http://{address}"));
    let mut program = worker.start();
    let line = program.says(&address.to_string()).await;
    assert!(!line.is_empty());
    assert!(program.runs());
    program.terminate();
    assert_eq!(
        program.exit_code().await,
        0,
        "a worker without a controller ends too"
    );
}

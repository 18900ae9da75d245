with

stories as (
    select * from {{ ref('news_stories') }}
    where coalesce(published_at, first_seen_at) >= timestamp_sub({{ now_utc() }}, interval 30 day)
),

final as (
    select
        normalised_url as story_id,
        title,
        source_site,
        category,
        article_url,
        article_count,
        published_at,
        first_seen_at,
        last_seen_at,
    from stories
)

select * from final
